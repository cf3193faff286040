"""A small model server with TensorFlow Serving's flags and contract, for laptops and tests.

It is not TensorFlow Serving: it runs SavedModels in Python, one request at a time per thread.
"""
