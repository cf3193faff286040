"""What the name of a file, a folder or an array says of its content: which split, which kind.

Names are read as words, whatever lies between them and in any letter case: ``train-images``,
``Train_Images`` and ``trainImages`` are the same.
"""

import posixpath
import re

SPLITS = ("train", "test")

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "xtrain", "ytrain"), "train"),
    **dict.fromkeys(("t10k", "test", "testing", "xtest", "ytest"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
}
_KIND_WORDS = {
    **dict.fromkeys(("images", "image", "imgs", "img", "x", "xtrain", "xtest"), "images"),
    **dict.fromkeys(("data", "pixels"), "images"),
    **dict.fromkeys(("labels", "label", "y", "ytrain", "ytest"), "labels"),
    **dict.fromkeys(("targets", "target", "class", "classes"), "labels"),
}
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words(name: str) -> list[str]:
    """The words of a name, in lower case: ``trainImages_1`` has train, images and 1."""
    return re.findall(r"[a-z0-9]+", _HUMP.sub(" ", name).lower())


def split_of(path: str) -> str:
    """The split that the last telling part of ``path`` names: train, test or validation; or ""."""
    for part in reversed(path.split("/")):
        found = {_SPLIT_WORDS[word] for word in words(part) if word in _SPLIT_WORDS}
        if len(found) == 1:
            return found.pop()
    return ""


def kind_of(name: str) -> str:
    """Whether a name is that of images or labels; empty if it says neither, or both."""
    found = {_KIND_WORDS[word] for word in words(name) if word in _KIND_WORDS}
    return found.pop() if len(found) == 1 else ""


def other_words(name: str) -> str:
    """The words that name neither a split nor a kind, such as those of the data set."""
    return " ".join(w for w in words(name) if w not in _SPLIT_WORDS and w not in _KIND_WORDS)


def ending(path: str) -> str:
    """The ending of a file's name in lower case, without that of gzip: ``.csv`` of a.csv.gz."""
    name = posixpath.basename(path).lower().removesuffix(".gz")
    return posixpath.splitext(name)[1]
