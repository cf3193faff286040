"""The base of every other package: settings, digits, files and words; imports none of them."""
