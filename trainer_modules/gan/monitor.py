"""Monitors the adversarial training and reports each failure once per onset.

A window of recent steps distinguishes three states: a dead discriminator, a collapsed generator and
an exploding loss. The messages go to the log and to history.json.
"""

import collections
import dataclasses
import math
import statistics

WINDOW = 100  # steps that a state must last before it is reported
DEAD_ACCURACY = 0.03  # |accuracy - 0.5| below this over the window ...
DEAD_GAP = 0.02  # ... while the loss stays this close to ln 2: the discriminator is guessing
COLLAPSED_SPREAD = 0.25  # standard deviation between fakes below this share of that between reals
GRACE = 300  # first steps without a report of collapse: healthy fakes differ by then
COLLAPSED = "collapsed generator"
EXPLODING_RATIO = 10.0  # newest loss over the window's median


@dataclasses.dataclass
class BalanceMonitor:
    """Feed one step at a time; ``update`` returns the states that have just begun."""

    window: int = WINDOW
    grace: int = GRACE
    _losses: collections.deque = dataclasses.field(init=False)
    _accuracies: collections.deque = dataclasses.field(init=False)
    _steps: int = dataclasses.field(default=0, init=False)
    _active: set[str] = dataclasses.field(default_factory=set, init=False)

    def __post_init__(self):
        self._losses = collections.deque(maxlen=self.window)
        self._accuracies = collections.deque(maxlen=self.window)

    def update(
        self, discriminator_loss: float, discriminator_accuracy: float, spread: float
    ) -> list[tuple[str, str]]:
        """Takes one step's metrics.

        Args:
            discriminator_loss: Of this step, penalties included, in nats.
            discriminator_accuracy: Share of pairs with D(real) > D(fake), in [0, 1].
            spread: Pixel standard deviation of fakes over that of reals; about 1 when healthy.

        Returns:
            (name, sentence) of each state that begins with this step.
        """
        self._steps += 1
        previous = statistics.median(self._losses) if self._losses else None
        self._losses.append(discriminator_loss)
        self._accuracies.append(discriminator_accuracy)
        full = len(self._losses) == self.window
        accuracy = statistics.fmean(self._accuracies)
        loss = statistics.fmean(self._losses)
        states = {
            "exploding loss": (
                full and discriminator_loss > EXPLODING_RATIO * max(previous, 1e-3),
                f"the discriminator's loss is {discriminator_loss:.3g}, over {EXPLODING_RATIO:g} "
                f"times its recent median {previous or 0:.3g}; lower the learning rates",
            ),
            "dead discriminator": (
                full and abs(accuracy - 0.5) < DEAD_ACCURACY and abs(loss - math.log(2)) < DEAD_GAP,
                f"over {self.window} steps the discriminator is right on {accuracy:.0%} of pairs "
                f"at a loss of {loss:.3f} (ln 2 = 0.693), so the generator learns nothing; raise "
                "the discriminator's learning rate or lower gradient_penalty",
            ),
            COLLAPSED: (
                full and self._steps > self.grace and spread < COLLAPSED_SPREAD,
                f"generated images differ from each other {spread:.0%} as much as real ones; raise "
                "gradient_penalty or lower the generator's learning rate",
            ),
        }
        begun = [
            (name, sentence)
            for name, (on, sentence) in states.items()
            if on and name not in self._active
        ]
        self._active = {name for name, (on, _) in states.items() if on}
        return begun
