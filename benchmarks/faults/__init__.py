"""Accidents done to real runs of the pipeline: what is done, to what, and what must hold.

Contract: ``accidents.yaml`` is the table of them; ``injectors`` does them, ``place`` runs
``inkwell`` and looks at what is left, ``__main__`` prints how many were tried, held and lost.
"""
