"""Which of the model's labels can be accepted unseen, by the audit: of the tasks of which the model is surest. Pure.

Audited tasks (`connector.active_learning.accuracy`) were drawn from the same as the unlabelled ones. So among those of
which the model is at least so sure, it errs as often on unlabelled tasks as on audited ones. That is a binomial bound:

    k                 errors of the model among the n audited tasks of which it is at least so sure
    rate              Beta(c k + 1/2, n - c k + 1/2) distributed: Jeffreys' prior, and c = TOO_FEW
    share of errors   among the N unlabelled tasks of which it is at least so sure: Binomial(N, rate) / N
    bound             the LEVEL quantile of that share

k is not known, because annotators err. It is drawn with the true classes of audited tasks, by the sampler of the audit.
Here the model is the more probably right the surer it is, because annotators' errors would count as the model's
otherwise:

    z_i               log odds of the model's most probable class, in standard deviations around their mean over the
                      unlabelled tasks
    log odds of r_i = a + b z_i   for audited tasks, where a and b are drawn from grids

Tried are the SHARES of the unlabelled tasks of which the model is surest. The largest is accepted whose bound is at
most the limit. LEVEL is above 95 %, because one of several sets is chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connector.active_learning.accuracy import Bools, Sampler, drawn, kept_tasks, part_of, sigmoid
from connector.active_learning.labels import Floats, Labels, checked_probs
from connector.active_learning.temperature import best_temperature, scaled

LEVEL = 0.975
SHARES = (0.05, *(step / 10 for step in range(1, 11)))
# A classifier learns from annotators' errors, so it errs where they do, and they contradict it too seldom there. In
# replays up to a third more labels were wrong than that gives (docs/decisions/0086).
TOO_FEW = 1.25
DRAWS, BURN_IN = 500, 150
GRIDS_EVERY = 4  # draws
MOST_BINS = 50
LEAST = 1e-4  # of a probability, in log odds

_SHIFTS = np.linspace(-2, 7, 28)  # a, which is normal around 1.5 with a standard deviation of 2
_SLOPES = np.linspace(0, 4, 17)  # b, which is normal around 1 with a standard deviation of 1, and not negative


@dataclass(frozen=True)
class Acceptance:
    """The largest set of unlabelled tasks that can be accepted, or without one, the set with the lowest bound.

    Attributes:
        share: of the unlabelled tasks that are accepted. 0: none.
        sureness: of the accepted tasks, at least.
        bound: on the share of errors in the set, of several questions the largest.
        audited: how many audited tasks lie in the set, of several questions the fewest.
    """

    share: float
    sureness: float
    bound: float
    audited: int


class Evidence:
    """What labels say of the model of one question."""

    def __init__(
        self,
        labels: Labels,
        pred_probs: Floats,
        pred_probs_unlabeled: Floats,
        audited_only: Bools,
        *,
        seed: int = 0,
    ) -> None:
        """Scales the probabilities.

        Args:
            labels: annotators' labels on n tasks.
            pred_probs: out-of-sample class probabilities (n, n_classes).
            pred_probs_unlabeled: those (u, n_classes) of unlabelled tasks.
            audited_only: which of the tasks (n,) have labels of the audit only.
            seed: of the sampling.

        Raises:
            ValueError: these are no probabilities. It names the first bad row.
        """
        probs = checked_probs("pred_probs", pred_probs, labels.n_tasks, labels.n_classes)
        unlabelled = checked_probs(
            "pred_probs_unlabeled", pred_probs_unlabeled, len(pred_probs_unlabeled), labels.n_classes
        )
        votes = labels.votes()
        self._temperature = best_temperature(votes, votes.sum(axis=1), probs)
        self._rng = np.random.default_rng(seed)
        kept = kept_tasks(audited_only, self._rng)
        self._labels, self._audited = part_of(labels, kept), audited_only[kept]
        self._probs, self._unlabelled = (scaled(each, self._temperature) for each in (probs[kept], unlabelled))
        self._sorted = np.sort(_log_odds(self._unlabelled))

    def sureness(self, pred_probs: Floats) -> Floats:
        """The shares (m,) of the unlabelled tasks of which the model is at most so sure as of these (m, n_classes)."""
        place = np.searchsorted(self._sorted, _log_odds(scaled(pred_probs, self._temperature)), side="right")
        return np.asarray(place / max(len(self._sorted), 1), np.float64)

    def wrong(self) -> Bools:
        """Draws (DRAWS, audited tasks) of which audited tasks, ascending, the model gave a wrong class."""
        mean, deviation = (float(self._sorted.mean()), float(self._sorted.std())) if len(self._sorted) else (0.0, 0.0)
        odds = (_log_odds(self._probs) - mean) / max(deviation, 1e-9)
        return _Sampler(self._labels, self._probs, self._unlabelled, self._audited, odds).wrong(self._rng)


def accept(
    sureness: Floats, audited: Sequence[tuple[Floats, Bools]], max_error: float, *, seed: int = 0
) -> Acceptance | None:
    """The largest set of the surest unlabelled tasks whose bound is at most `max_error`. None without unlabelled tasks.

    Args:
        sureness: of the unlabelled tasks (u,). Of several questions, of the least sure one.
        audited: of each question, the sureness of its audited tasks (a,), and draws (d, a) of which are wrong.
        max_error: most errors in the set, as a share.
        seed: of the draws of rates.
    """
    if not len(sureness):
        return None
    rng = np.random.default_rng(seed)
    order = np.sort(sureness)[::-1]
    found: list[Acceptance] = []
    for share in SHARES:
        least = float(order[max(round(share * len(order)), 1) - 1])
        size = int((sureness >= least).sum())
        bounds = [bound(wrong[:, of_audited >= least], size, rng) for of_audited, wrong in audited]
        fewest = min(int((of_audited >= least).sum()) for of_audited, _ in audited)
        found.append(Acceptance(size / len(order), least, max(bounds), fewest))
    good = [each for each in found if each.bound <= max_error]
    if good:
        return good[-1]
    lowest = min(found, key=lambda each: each.bound)
    return Acceptance(0.0, lowest.sureness, lowest.bound, lowest.audited)


def bound(wrong: Bools, size: int, rng: np.random.Generator) -> float:
    """The bound on the share of errors among `size` tasks. `wrong` (d, n): draws of which audited tasks are wrong."""
    audited = wrong.shape[1]
    errors = np.minimum(TOO_FEW * wrong.sum(axis=1), audited)
    rates = rng.beta(errors + 0.5, audited - errors + 0.5)
    return float(np.quantile(rng.binomial(size, rates) / size, LEVEL))


def needed(max_error: float) -> int:
    """How many audited tasks without a single error a bound of `max_error` takes."""
    from scipy.stats import beta

    few, many = 0, 1
    while beta.ppf(LEVEL, 0.5, many + 0.5) > max_error:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        if beta.ppf(LEVEL, 0.5, middle + 0.5) > max_error:
            few = middle
        else:
            many = middle
    return many


class _Sampler(Sampler):
    """The sampler of the audit, with the model's sureness of audited tasks."""

    def __init__(self, labels: Labels, probs: Floats, unlabelled: Floats, audited: Bools, odds: Floats) -> None:
        super().__init__(labels, probs, unlabelled, audited)
        self._odds = odds
        mine = odds[audited]
        # To draw a and b, tasks of about the same sureness count as one.
        self._bin = np.argsort(np.argsort(mine, kind="stable"), kind="stable") * MOST_BINS // max(len(mine), 1)
        self._bins = np.bincount(self._bin, minlength=MOST_BINS)
        means = np.bincount(self._bin, mine, MOST_BINS) / np.maximum(self._bins, 1)
        of_grid = _SHIFTS[:, None, None] + _SLOPES[:, None] * means  # log odds (shifts, slopes, bins)
        self._if_right, self._if_wrong = -np.logaddexp(0, -of_grid), -np.logaddexp(0, of_grid)
        self._prior = -0.5 * ((_SHIFTS - 1.5) / 2)[:, None] ** 2 - 0.5 * (_SLOPES - 1) ** 2

    def wrong(self, rng: np.random.Generator) -> Bools:
        """Draws (DRAWS, audited tasks) of which audited tasks the model gave a wrong class."""
        found = np.zeros((DRAWS, int(self._audited.sum())), np.bool_)
        for draw in range(-BURN_IN, DRAWS):
            confusions = self.confusions(rng, with_grids=draw % GRIDS_EVERY == 0)
            right = self._true == self._predicted
            of_chosen = sigmoid(self._log_odds + self.offsets(right, rng)[self._group])
            probably_right = np.where(self._audited, self._right_if_audited(right, rng), of_chosen)
            self._true = self.classes_given(probably_right, confusions, rng)
            if draw >= 0:
                found[draw] = (self._true != self._predicted)[self._audited]
        return found

    def _right_if_audited(self, right: Bools, rng: np.random.Generator) -> Floats:
        """How probably the model is right about each task (n,), if it was audited."""
        hits = np.bincount(self._bin, right[self._audited], MOST_BINS)
        logs = self._prior + self._if_right @ hits + self._if_wrong @ (self._bins - hits)
        shift, slope = divmod(int(drawn(logs.reshape(1, -1), rng)[0]), len(_SLOPES))
        return sigmoid(_SHIFTS[shift] + _SLOPES[slope] * self._odds)


def _log_odds(probs: Floats) -> Floats:
    """Log odds (n,) of the most probable class."""
    most = np.clip(probs.max(axis=1, initial=0.0), LEAST, 1 - LEAST)
    return np.asarray(np.log(most / (1 - most)))
