"""What is wrong with images and labels themselves: counts, places, and how to fix it.

Contract: ``find`` looks at the pixels and labels of train and test and fails nothing; each
``Finding`` says how many and which, and whether it stops a run. A finding that is named in
``data.allow`` is known and stops nothing. Vectorised: all 70,000 images of MNIST take about 4 s.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from components.idx_example_gen import encode
from components.idx_example_gen.data import Pair
from components.idx_example_gen.scalars import measure_brightness
from core.config import from_dict

FINDINGS_FILE = "images.json"  # next to the splits of the examples
_SHOWN = 10
# Two images are nearly identical if the root mean square of their difference is at most this, in
# grey levels. MNIST has no such pair, Fashion-MNIST 31.
_NEAR = 4.0
_AXES = 12  # of the space in which neighbours are looked for; more cost and find no more
_NEIGHBOURS = 4
_LEAST_LEAK = 0.01  # share of the test images below which a figure hardly moves
_LEAST_DISAGREEING = 0.01  # share of the images
_FAINT = 64  # a brightest pixel below this is no scale of 0 to 255
_LEAST_EVAL = 50  # images, as the schemas have it
_CHANCE = 0.05  # agreement beyond chance, of 1, below which labels say nothing of images
_LEARNED, _ASKED = 4000, 2000  # images of the cheap classifier


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that is wrong with one split."""

    name: str  # as in ``data.allow``
    split: str
    count: int  # of images or classes
    first: tuple[int, ...]  # the first ten: places in the files, or classes
    what: str  # a clause
    remedy: str  # another
    stops: bool  # whether a run ends here

    @property
    def sentence(self) -> str:
        """All of it."""
        places = ""
        if self.first:
            more = ", ..." if self.count > len(self.first) else ""
            places = f": {', '.join(map(str, self.first))}{more}"
        return f"{self.what}{places}. {self.remedy[0].upper()}{self.remedy[1:]}."


def find(splits: Mapping[str, Pair]) -> list[Finding]:
    """Looks at the images of train and test; those that stop a run come first."""
    found: list[Finding] = []
    for split, pair in splits.items():
        found += _scale(split, pair)
        found += _blank(split, pair)
        found += _sorted(split, pair)
    found += _few(splits["train"])
    found += _gaps(splits)
    found += _copies(splits)
    found += _shuffled(splits)
    return sorted(found, key=lambda finding: not finding.stops)


def read(examples_uri: str) -> list[Finding]:
    """The findings that example-gen has written next to the splits."""
    from tfx.dsl.io import fileio

    with fileio.open(f"{examples_uri}/{FINDINGS_FILE}", "r") as file:
        return [from_dict(Finding, row) for row in json.load(file)]


def stopping(found: Sequence[Finding], allow: Sequence[str]) -> list[Finding]:
    """The findings that end a run."""
    return [finding for finding in found if finding.stops and finding.name not in allow]


def _scale(split: str, pair: Pair) -> Iterator[Finding]:
    """Whether the pixels run from 0 to 255, dark paper and bright ink."""
    count, high = len(pair.labels), int(pair.images.max())
    if 0 < high < _FAINT:
        yield Finding(
            "scale",
            split,
            count,
            (),
            f"No pixel of {split} is above {high}, where 255 is full ink",
            f"multiply the pixels by {255 // high}",
            stops=high <= 16,
        )
    if measure_brightness(pair.images).paper > measure_brightness(pair.images).ink:
        yield Finding(
            "inverted",
            split,
            count,
            (),
            f"The images of {split} are dark on white, where MNIST's are bright on black",
            "invert them, 255 - x, unless they shall be drawn so",
            stops=False,
        )


def _blank(split: str, pair: Pair) -> Iterator[Finding]:
    rows = np.flatnonzero(_is_blank(pair.images))
    if len(rows):
        yield Finding(
            "blank",
            split,
            len(rows),
            _places(pair, rows),
            f"{len(rows):,} of {len(pair.labels):,} {split} images are blank",
            "remove them, with their labels",
            stops=True,
        )


def _sorted(split: str, pair: Pair) -> Iterator[Finding]:
    changes = np.count_nonzero(np.diff(pair.labels.astype(int)))
    classes = len(np.unique(pair.labels))
    if pair.rows is None and classes > 1 and changes < 2 * classes < len(pair.labels) // 2:
        yield Finding(
            "sorted",
            split,
            len(pair.labels),
            (),
            f"The images of {split} are sorted by class",
            "nothing need be done, as every node shuffles; other tools may take the first ones",
            stops=False,
        )


def _few(pair: Pair) -> Iterator[Finding]:
    is_eval = encode.choose_eval(pair.images)
    held = int(is_eval.sum())
    if held < _LEAST_EVAL:
        buckets = encode.TRAIN_BUCKETS + encode.EVAL_BUCKETS
        needed = _LEAST_EVAL * buckets // encode.EVAL_BUCKETS
        yield Finding(
            "few",
            "train",
            len(pair.labels),
            (),
            f"Train holds {len(pair.labels):,} images, of which {held} go to eval, where at least "
            f"{_LEAST_EVAL} are needed",
            f"give about {needed:,}",
            stops=True,
        )
    missing = sorted(set(pair.labels.tolist()) - set(pair.labels[is_eval].tolist()))
    if missing and held >= _LEAST_EVAL:
        rare = [np.count_nonzero(pair.labels == label) for label in missing]
        yield Finding(
            "few",
            "train",
            len(missing),
            tuple(missing[:_SHOWN]),
            f"No image of {len(missing)} classes goes to eval, as train has only {min(rare)} to "
            f"{max(rare)} of each",
            "give more of them, about 50 of each class",
            stops=True,
        )


def _gaps(splits: Mapping[str, Pair]) -> Iterator[Finding]:
    """Whether the labels run from 0 without a gap, the same in both splits."""
    top = max(int(pair.labels.max()) for pair in splits.values())
    known = sorted(set().union(*(pair.labels.tolist() for pair in splits.values())))
    for split, pair in splits.items():
        have = set(pair.labels.tolist())
        missing = [label for label in range(top + 1) if label not in have]
        if not missing:
            continue
        what = f"{split.capitalize()} has no image of {len(missing)} of the classes 0 to {top}"
        remedy = "number the classes from 0 without a gap, or give images of them"
        if top == 255 and known[-2] < top - 1:
            what = f"Label 255 is far above the next, {known[-2]}"
            remedy = "if it marks images without a label, remove them"
            missing = []
        yield Finding(
            "gaps", split, len(missing), tuple(missing[:_SHOWN]), what, remedy, stops=True
        )


def _copies(splits: Mapping[str, Pair]) -> Iterator[Finding]:
    """Images that are there twice, within a split or across, with the same label or another."""
    pairs = list(splits.values())
    # On one scale, as what is nearly the same depends on it.
    images = np.concatenate([measure_brightness(pair.images).inked(pair.images) for pair in pairs])
    labels = np.concatenate([pair.labels for pair in pairs]).astype(int)
    border = len(pairs[0].labels)  # train before it, test from it on
    origin = _first_copies(images)
    is_blank = _is_blank(images)
    is_copy = (origin != np.arange(len(images))) & ~is_blank
    twin = origin.copy()  # of each image an earlier one that is the same or nearly so
    unique = np.flatnonzero(~is_copy & ~is_blank)
    for a, b in _near_pairs(images[unique]):
        early, late = sorted((unique[a], unique[b]))
        twin[late] = min(twin[late], early)
    for i, (split, pair) in enumerate(splits.items()):
        rows = np.flatnonzero(is_copy)
        rows = rows[(rows >= border) == bool(i)]
        rows = rows[origin[rows] >= i * border] - i * border
        if len(rows):
            yield Finding(
                "duplicate",
                split,
                len(rows),
                _places(pair, rows),
                f"{len(rows):,} of {len(pair.labels):,} {split} images are copies of others in it",
                "remove the copies, unless they are there on purpose",
                stops=False,
            )
    tests = np.arange(border, len(images))
    # The first copy of an image may itself be near to one in train.
    leaked = tests[(np.minimum(twin[tests], twin[origin[tests]]) < border) & ~is_blank[tests]]
    if len(leaked):
        share = len(leaked) / len(tests)
        yield Finding(
            "leak",
            "test",
            len(leaked),
            _places(pairs[1], leaked - border),
            f"{len(leaked):,} of {len(tests):,} test images ({share:.2%}) are in train too, or "
            "nearly the same",
            "remove them from one of the two, or every figure of the test is too good",
            stops=share >= _LEAST_LEAK,
        )
    disagreeing = np.flatnonzero((twin != np.arange(len(images))) & ~is_blank)
    disagreeing = disagreeing[labels[disagreeing] != labels[twin[disagreeing]]]
    for i, (split, pair) in enumerate(splits.items()):
        rows = disagreeing[(disagreeing >= border) == bool(i)] - i * border
        if len(rows):
            yield Finding(
                "disagree",
                split,
                len(rows),
                _places(pair, rows),
                f"{len(rows):,} of {len(pair.labels):,} {split} images have another label than an "
                "image that is the same or nearly so",
                "correct the labels that are wrong",
                stops=len(rows) >= _LEAST_DISAGREEING * len(pair.labels),
            )


def _shuffled(splits: Mapping[str, Pair]) -> Iterator[Finding]:
    """Whether a cheap classifier, learned from train, says more of the labels than chance does."""
    train = splits["train"]
    half = len(train.labels) // 2
    spread = np.random.default_rng(0).permutation(len(train.labels))
    learned, rest = spread[:half][:_LEARNED], spread[half:][:_ASKED]
    asked = {"train": (train.images[rest], train.labels[rest])}
    if "test" in splits:
        test = splits["test"]
        rows = np.random.default_rng(1).permutation(len(test.labels))[:_ASKED]
        asked["test"] = (test.images[rows], test.labels[rows])
    for split, (images, labels) in asked.items():
        agreement = max(
            _agreement(labels, guess)
            for guess in _guesses(train.images[learned], train.labels[learned], images)
        )
        is_seen = _is_blank(images).mean() < 0.5  # blank images say nothing of labels
        if len(labels) >= _LEAST_EVAL and is_seen and agreement < _CHANCE:
            yield Finding(
                "shuffled",
                split,
                len(splits[split].labels),
                (),
                f"The labels of {split} do not belong to its images: a simple classifier is no "
                f"better than chance (agreement {agreement:.2f} of 1)",
                "are the labels shuffled, moved by one, or those of other images? Write them anew",
                stops=True,
            )


def _guesses(images: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> Iterator[np.ndarray]:
    """Labels by the nearest class mean and by the nearest image, at half the resolution."""
    known, wanted = (_halved(a) for a in (images, asked))
    classes = np.unique(labels)
    means = np.stack([known[labels == label].mean(axis=0) for label in classes])
    yield classes[_nearest(wanted, means)]
    yield labels[_nearest(wanted, known)]


def _halved(images: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels, float32 [N, 196]."""
    count, height, width = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2)
    return blocks.mean(axis=(2, 4), dtype=np.float32).reshape(count, -1)


def _nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Row of ``others`` that is nearest to each of ``points``."""
    return ((others**2).sum(axis=1) - 2 * points @ others.T).argmin(axis=1)


def _agreement(labels: np.ndarray, guesses: np.ndarray) -> float:
    """Cohen's kappa: 1 if every guess is right, 0 if as many are as by chance."""
    shares, guessed = (np.bincount(a, minlength=256) / len(a) for a in (labels, guesses))
    chance = float(shares @ guessed)
    return float(((labels == guesses).mean() - chance) / (1 - chance)) if chance < 1 else 1.0


def _is_blank(images: np.ndarray) -> np.ndarray:
    """Whether all pixels of an image are the same, bool [N]."""
    return (images == images[:, :1, :1]).all(axis=(1, 2))


def _first_copies(images: np.ndarray) -> np.ndarray:
    """Of each image, the place of the first that is the same: int64 [N]."""
    first: dict[bytes, int] = {}
    return np.array(
        [
            first.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), i)
            for i, image in enumerate(images)
        ],
        np.int64,
    )


def _near_pairs(images: np.ndarray) -> np.ndarray:
    """Pairs of rows of nearly identical images: int64 [P, 2], at most four for each.

    The images are compared in the plane of their largest variations, where a distance is never
    longer than among the pixels, so no pair is missed; the pixels decide on the candidates.
    """
    from scipy.spatial import KDTree

    if len(images) <= _AXES:
        return np.zeros((0, 2), np.int64)
    flat = images.reshape(len(images), -1)
    sample = flat[:: max(1, len(flat) // 3000)].astype(np.float32)
    axes = np.linalg.eigh(np.cov(sample.T))[1][:, -_AXES:].astype(np.float32)
    blocks = (flat[i : i + 5000].astype(np.float32) for i in range(0, len(flat), 5000))
    points = np.concatenate([block @ axes for block in blocks])
    radius = _NEAR * np.sqrt(flat.shape[1])
    tree = KDTree(points)
    _, neighbours = tree.query(points, k=_NEIGHBOURS, distance_upper_bound=radius * 1.001)
    row, column = np.nonzero(neighbours < len(points))
    pairs = np.stack([row, neighbours[row, column]], axis=1)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    near = [np.square(flat[a].astype(np.float32) - flat[b]).sum() <= radius**2 for a, b in pairs]
    return pairs[np.array(near, bool)]


def _places(pair: Pair, rows: np.ndarray) -> tuple[int, ...]:
    """The first ten of ``rows``, as places in the files."""
    rows = rows[:_SHOWN]
    return tuple((rows if pair.rows is None else pair.rows[rows]).tolist())
