"""How good and how fast each annotator is, and who needs a look. Pure: arrays in, arrays out, nothing random.

The model is MACE (Hovy et al., "Learning whom to trust with MACE", 2013). Annotator j knows the class of a task with
probability s_j, their skill, and else guesses from m_j, the shares of the classes among all of their labels:

    P(Y_ij = y | class k) = s_j [y = k] + (1 - s_j) m_j(y)

One's labels are compared with what the others say, q_i: the classifier's out-of-sample probabilities (or the shares of
the classes) times the probability of every other label of the task. So no one is compared with oneself, and a doubtful
consensus hardly counts. A ground truth is q_i of its class alone. The accuracy a_j has the likelihood

    P(Y_ij = y) = a q_i(y) + (1 - a) m_j(y) * sum over k other than y of q_i(k) / (1 - m_j(k))

and a uniform prior. Its 95 % interval is Bayes', which is that of a Beta distribution where all q_i are certain.

Tasks may get harder for everybody in the course of a project. So for warnings, the skill s_j is multiplied by e_t, the
skill of all others around the time of the label relative to their skill in all. Who is as good as before in relation to
the others has not become careless.

Warnings are sequential tests, because they are looked at after every sync. Each is a likelihood ratio e against the
best of all honest annotators (universal inference: Wasserman, Ramdas and Balakrishnan, 2020). By Ville's inequality
(1939), an honest annotator ever gets e above x with a probability of at most 1 / x, however often one looks. Honest is
who has at least HONEST of the median skill of the others, and does not change. Who always meets the majority class is
honest, too: then q and m are alike, and so are all likelihoods. The bound neglects that q and m are estimates:
benchmarks/people.py counts false alarms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from connector.active_learning.interval import Interval
from connector.active_learning.labels import Floats, Ints

LEAST_EVIDENCE = 1000.0  # of a warning: at most one of so many honest annotators ever gets it
LEAST_COMPARED = 10  # labels that can be compared with others, for an annotator to be one of the others
HONEST = 0.6  # of the median skill of the others
WORSE = 0.8  # of it: who is below is worse
FELL = 0.5  # who became careless has at most this share of their former skill
MUCH_FASTER = 0.5  # of the time of others
CONSTANT = 0.95  # share of the labels of one class
BLOCK = 25  # labels between the moments at which somebody may have become careless

PSEUDO_LABELS = 10.0  # which draw each skill to that of all
MOST_SKILL = 0.98
ITERATIONS = 20
CERTAIN = 1 - 1e-6  # of a ground truth
NEAR = 200  # labels of all before and after one, by which the others are judged around its time
PSEUDO_NEAR = 50.0  # labels which draw that to their skill in all
LEAST = 1e-12
SKILLS = np.linspace(0.0, MOST_SKILL, 50)
SHARES = np.linspace(0.0, 1.0, 401)
FORMER, GUESSES_MOSTLY = range(15, 50, 5), 5  # places in SKILLS
INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Answers:
    """The labels of one question in the order of time, (m,) each.

    Attributes:
        task: numbers from 0.
        annotator: numbers from 0. An annotator has at most one label on a task.
        label: class indices.
        seconds: how long they took. NaN: unknown.
    """

    task: Ints
    annotator: Ints
    label: Ints
    seconds: Floats


@dataclass(frozen=True)
class Estimate(Interval):
    """An estimate with its 95 % interval. `n`: how many labels it is from."""

    n: int


@dataclass(frozen=True)
class PersonWarning:
    """What is wrong with an annotator's labels. An honest annotator ever gets it with a probability of 1 / `evidence`.

    Attributes:
        kind: "random", "constant", "careless" (worse than before), "hasty" (much faster than the others, and worse) or
            "slow" (much slower than the others, which is no reproach).
        evidence: the likelihood ratio e.
        since: the annotator's label, counted from 0, with which it began.
        label: the class that a constant annotator gives.
    """

    kind: str
    evidence: float
    since: int = 0
    label: int | None = None


@dataclass(frozen=True)
class Person:
    """One annotator.

    Attributes:
        answers: how many labels they gave.
        accuracy: how often they are right. None: none of their labels can be compared.
        by_class: how often they recognise each class. None: it was never there.
        halves: the accuracy of the first and of the second half of their labels. None: there are too few.
        seconds: the median per label. None: unknown.
        pace: the median ratio of their seconds to those of the others.
        warnings: what is wrong with their labels. Few annotators have two.
    """

    answers: int
    accuracy: Estimate | None = None
    by_class: list[Estimate | None] = field(default_factory=list)
    halves: tuple[Estimate, Estimate] | None = None
    seconds: float | None = None
    pace: float | None = None
    warnings: list[PersonWarning] = field(default_factory=list)


def assess(answers: Answers, probs: Floats | None, truth: Ints, n_classes: int, n_annotators: int) -> list[Person]:
    """What is known of each annotator.

    Args:
        answers: the labels in the order of time.
        probs: the model's out-of-sample probabilities (n_tasks, n_classes), with NaN in the rows of tasks that it does
            not know. None: there is no model.
        truth: the classes (n_tasks,) of tasks with a ground truth. -1: unknown.
        n_classes: how many classes there are.
        n_annotators: how many annotators there are.
    """
    guesses = _guesses(answers, n_classes, n_annotators)
    skills, others, known, knew = _others(answers, probs, truth, guesses)
    compared = np.bincount(answers.annotator[known], minlength=n_annotators)
    paces = _paces(answers, n_annotators)
    found = []
    for number in range(n_annotators):
        mine = answers.annotator == number
        q, label, guess = others[mine & known], answers.label[mine & known], guesses[number]
        accuracy = _accuracy(q, label, guess)
        pace, faster, slower = paces[number]
        rest = [skill for other, skill in enumerate(skills) if other != number and compared[other] >= LEAST_COMPARED]
        warnings = []
        if rest and len(label):
            reference = float(np.median(rest))
            logs = _by_skill(q, label, guess, _ease(knew, known & ~mine)[mine & known])
            warnings = _warnings(logs, label, len(guess), reference)
            hasty = min(faster, _worse(logs, reference))
            if hasty >= LEAST_EVIDENCE:
                warnings.append(PersonWarning("hasty", hasty))
        if slower >= LEAST_EVIDENCE:
            warnings.append(PersonWarning("slow", slower))
        places = np.flatnonzero(known[mine])  # of the labels that can be compared, among all of the annotator's
        seconds = answers.seconds[mine & (answers.seconds > 0)]
        found.append(
            Person(
                answers=int(mine.sum()),
                accuracy=accuracy,
                by_class=_by_class(q, label, guess, accuracy),
                halves=_halves(q, label, guess),
                seconds=float(np.median(seconds)) if len(seconds) else None,
                pace=pace,
                warnings=[
                    replace(warning, since=int(places[warning.since]) if warning.since else 0) for warning in warnings
                ],
            )
        )
    return found


def judge(q: Floats, label: Ints) -> tuple[Estimate | None, list[Estimate | None]]:
    """How often labels (n,) are right, and how often each class is recognised. Of one who is no annotator.

    `q` (n, K): what people say of each task. The estimates are those of an annotator.
    """
    counts = np.bincount(label, minlength=q.shape[1]) + 0.5
    guess = np.asarray(counts / counts.sum(), np.float64)
    accuracy = _accuracy(q, label, guess)
    return accuracy, _by_class(q, label, guess, accuracy)


def _guesses(answers: Answers, n_classes: int, n_annotators: int) -> Floats:
    """m_j: the shares of the classes among each annotator's labels (n_annotators, n_classes), none of them zero."""
    cell = answers.annotator * n_classes + answers.label
    counts = np.bincount(cell, minlength=n_annotators * n_classes).reshape(n_annotators, n_classes) + 0.5
    return np.asarray(counts / counts.sum(axis=1, keepdims=True), np.float64)


def _others(
    answers: Answers, probs: Floats | None, truth: Ints, guesses: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_], Floats]:
    """The annotators' skills, and of each label what the others say about its task (m, K) and whether they do (m,).

    Last, how probably the annotator knew the class (m,). EM for the skills. Labels of tasks without a model, a ground
    truth and another label cannot be compared.
    """
    n_tasks, n_classes = len(truth), guesses.shape[1]
    shares = np.bincount(answers.label, minlength=n_classes) + 1.0
    prior = np.tile(shares / shares.sum(), (n_tasks, 1))
    has_model = np.zeros(n_tasks, np.bool_) if probs is None else ~np.isnan(probs[:, 0])
    if probs is not None:
        prior[has_model] = probs[has_model]
    tested = truth >= 0
    prior[tested] = (1 - CERTAIN) / (n_classes - 1)
    prior[tested, truth[tested]] = CERTAIN
    log_prior = np.log(np.maximum(prior, LEAST))
    n_labels = np.bincount(answers.task, minlength=n_tasks)
    known = (n_labels > 1)[answers.task] | has_model[answers.task] | tested[answers.task]
    rows = np.arange(len(answers.label))
    guess = guesses[answers.annotator]  # (m, K)
    counted = np.bincount(answers.annotator[known], minlength=len(guesses))
    skills: Floats = np.full(len(guesses), 0.7)
    ease: Floats = np.ones(len(rows))
    others, knew = np.zeros((len(rows), n_classes)), np.zeros(len(rows))
    for _ in range(ITERATIONS):
        skill = np.minimum(skills[answers.annotator] * ease, MOST_SKILL)
        # log P(label | class) differs from log((1 - s) m) at the label's own class alone.
        wrong = np.log((1 - skill) * guess[rows, answers.label])
        right = np.log(skill + (1 - skill) * guess[rows, answers.label])
        gain = right - wrong
        cells = answers.task * n_classes + answers.label
        total = log_prior + np.bincount(cells, gain, n_tasks * n_classes).reshape(n_tasks, n_classes)
        others = total[answers.task]
        others[rows, answers.label] -= gain
        others -= others.max(axis=1, keepdims=True)
        np.exp(others, out=others)
        others /= others.sum(axis=1, keepdims=True)
        agree = others[rows, answers.label]
        knew = skill * agree / (skill * agree + (1 - skill) * guess[rows, answers.label])
        ease = _ease(knew, known)
        sums = np.bincount(answers.annotator[known], knew[known], len(guesses))
        mean = sums.sum() / max(int(known.sum()), 1)
        skills = np.minimum((sums + PSEUDO_LABELS * mean) / (counted + PSEUDO_LABELS), MOST_SKILL)
    return np.asarray(skills), np.asarray(others), np.asarray(known, np.bool_), np.asarray(knew)


def _ease(knew: Floats, counted: NDArray[np.bool_]) -> Floats:
    """The skill of the `counted` labels (m,) around each label, relative to that of all of them: e_t (m,)."""
    sums = np.concatenate([[0.0], np.cumsum(knew * counted)])
    counts = np.concatenate([[0.0], np.cumsum(counted)])
    place = np.arange(len(knew))
    first, last = np.maximum(place - NEAR, 0), np.minimum(place + NEAR + 1, len(knew))
    mean = sums[-1] / max(counts[-1], 1)
    near = sums[last] - sums[first] + PSEUDO_NEAR * mean
    return np.asarray(near / (counts[last] - counts[first] + PSEUDO_NEAR) / max(mean, LEAST), np.float64)


def _by_skill(q: Floats, label: Ints, guess: Floats, ease: Floats) -> Floats:
    """log P of each label (n,) under each of SKILLS: (n, S). `ease` (n,): by which skills are multiplied."""
    own, chance = q[np.arange(len(label)), label], guess[label]
    skills = np.minimum(SKILLS * ease[:, None], MOST_SKILL)
    return np.asarray(np.log(np.maximum(own[:, None] * skills + chance[:, None] * (1 - skills), LEAST)), np.float64)


def _warnings(logs: Floats, label: Ints, n_classes: int, reference: float) -> list[PersonWarning]:
    """The warnings about labels (n,) alone. `logs` (n, S): by skill. `reference`: the others' median skill."""
    honest = logs[:, reference * HONEST <= SKILLS].sum(axis=0).max()
    always = _log_predicted(label, n_classes) - honest
    lately, since, fell = _careless(logs, reference * HONEST)
    if max(always, lately) < math.log(LEAST_EVIDENCE):
        return []
    if always >= lately:
        return [_guesser(label, _ratio(always), 0)]
    evidence = _ratio(lately)
    return [PersonWarning("careless", evidence, since) if fell else _guesser(label[since:], evidence, since)]


def _guesser(label: Ints, evidence: float, since: int) -> PersonWarning:
    """Whose labels depend on nothing: whether they are nearly all of one class."""
    most = int(np.bincount(label).argmax())
    constant = float((label == most).mean()) >= CONSTANT
    return PersonWarning("constant" if constant else "random", evidence, since, most if constant else None)


def _log_predicted(label: Ints, n_classes: int) -> float:
    """log P of labels (n,) that depend on nothing: each is foretold by the shares of those before it.

    Krichevsky and Trofimov, "The performance of universal encoding" (1981): half a label of each class to begin with.
    """
    counts = np.bincount(label, minlength=n_classes)
    of_classes = sum(math.lgamma(count + 0.5) for count in counts.tolist()) - n_classes * math.lgamma(0.5)
    learned = of_classes - math.lgamma(len(label) + n_classes / 2) + math.lgamma(n_classes / 2)
    return float(np.logaddexp(learned, -len(label) * math.log(n_classes))) - math.log(2)


def _careless(logs: Floats, honest: float) -> tuple[float, int, bool]:
    """The log of the evidence that the skill fell, since which label, and whether it was better before.

    `logs` (n, S): log P of each label under each of SKILLS. The evidence is the mean of two ratios, each a mean over
    the label from which on it fell. One compares two skills, before and since, with the best constant skill. The other
    compares guesses since with the best skill of at least `honest`. The b-th of the labels that may be the first, every
    BLOCK, has the weight 1 / (b (b + 1)).
    """
    places = np.arange(BLOCK, len(logs), BLOCK)
    if not len(places):
        return -math.inf, 0, False
    sums = logs.cumsum(axis=0)
    before, after = sums[places - 1], sums[-1] - sums[places - 1]
    pairs = [(former, later) for former in FORMER for later in (0, int(former * FELL))]
    fell = np.logaddexp.reduce([before[:, former] + after[:, later] for former, later in pairs]) - math.log(len(pairs))
    guessed = np.logaddexp(after[:, 0], after[:, GUESSES_MOSTLY]) - math.log(2)
    fell -= sums[-1].max()
    guessed -= after[:, honest <= SKILLS].max(axis=1)
    block = np.arange(1, len(places) + 1)
    ratios = np.logaddexp(fell, guessed) - np.log(2 * block * (block + 1.0))
    best = int(ratios.argmax())
    return float(np.logaddexp.reduce(ratios)), int(places[best]), bool(fell[best] >= guessed[best])


def _worse(logs: Floats, reference: float) -> float:
    """The evidence that the skill is below WORSE of the reference."""
    total = logs.sum(axis=0)
    low = reference * WORSE > SKILLS
    if not low.any() or low.all():
        return 0.0
    return _ratio(float(np.logaddexp.reduce(total[low]) - math.log(low.sum()) - total[~low].max()))


def _paces(answers: Answers, n_annotators: int) -> list[tuple[float | None, float, float]]:
    """Of each annotator, the median ratio of their seconds to the others', and the evidence for much faster and slower.

    A time is expected to be the median of the others' medians, times what their times on the same task are in ratio to
    their own medians: the mean of the logarithms, with one more of an average task.
    """
    timed = answers.seconds > 0
    task, annotator, logs = answers.task[timed], answers.annotator[timed], np.log(answers.seconds[timed])
    medians = {number: float(np.median(logs[annotator == number])) for number in np.unique(annotator).tolist()}
    if len(medians) < 2:
        return [(None, 0.0, 0.0)] * n_annotators
    rest = logs - np.array([medians.get(number, 0.0) for number in range(n_annotators)])[annotator]
    n_others = np.bincount(task)[task] - 1
    of_task = (np.bincount(task, rest)[task] - rest) / (n_others + 1)
    found: list[tuple[float | None, float, float]] = []
    for number in range(n_annotators):
        mine = annotator == number
        if number not in medians:
            found.append((None, 0.0, 0.0))
            continue
        usual = float(np.median([median for other, median in medians.items() if other != number]))
        ratios = logs[mine] - of_task[mine] - usual
        faster, slower = (int((sign * ratios > -math.log(MUCH_FASTER)).sum()) for sign in (-1, 1))
        pace = math.exp(float(np.median(ratios)))
        found.append((pace, _more_than_half(faster, len(ratios)), _more_than_half(slower, len(ratios))))
    return found


def _more_than_half(yes: int, n: int) -> float:
    """The evidence that more than half of n answers are yes: any share above a half, against the best of at most it."""
    shares = SHARES[(SHARES > 0.5) & (SHARES < 1)]
    likely = np.logaddexp.reduce(yes * np.log(shares) + (n - yes) * np.log(1 - shares)) - math.log(len(shares))
    best = min(yes / n, 0.5)
    honest = (yes * math.log(best) if yes else 0.0) + (n - yes) * math.log(1 - best)
    return _ratio(float(likely) - honest)


def _accuracy(q: Floats, label: Ints, guess: Floats) -> Estimate | None:
    """How often labels (n,) are right. `q` (n, K): what the others say."""
    if not len(label):
        return None
    right, wrong = _right_and_wrong(q, label, guess)
    logs = np.log(np.maximum(right[:, None] * SHARES + wrong[:, None] * (1 - SHARES), LEAST)).sum(axis=0)
    return _estimate(logs, len(label))


def _right_and_wrong(q: Floats, label: Ints, guess: Floats) -> tuple[Floats, Floats]:
    """The probability of each label (n,) of an annotator who is always right, and of one who is always wrong."""
    right = q[np.arange(len(label)), label]
    odds = q / np.maximum(1 - guess, LEAST)
    wrong = guess[label] * (odds.sum(axis=1) - odds[np.arange(len(label)), label])
    return right, wrong


def _by_class(q: Floats, label: Ints, guess: Floats, whole: Estimate | None) -> list[Estimate | None]:
    """How often each class is recognised. `whole`: the accuracy over all classes.

    A task counts for each class by how probably it has that class, given what the others say and the own label.
    """
    if whole is None:
        return [None] * len(guess)
    wrong = (1 - whole.value) * guess[label][:, None] / np.maximum(1 - guess, LEAST)
    weight = q * np.where(label[:, None] == np.arange(len(guess)), whole.value, wrong)
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), LEAST)
    found: list[Estimate | None] = []
    for k in range(len(guess)):
        n, right = float(weight[:, k].sum()), float(weight[label == k, k].sum())
        found.append(_of_counts(right, n - right) if n >= 1 else None)
    return found


def _halves(q: Floats, label: Ints, guess: Floats) -> tuple[Estimate, Estimate] | None:
    half = len(label) // 2
    if half < LEAST_COMPARED:
        return None
    first, second = _accuracy(q[:half], label[:half], guess), _accuracy(q[half:], label[half:], guess)
    return (first, second) if first is not None and second is not None else None


def _of_counts(right: float, wrong: float) -> Estimate:
    """A share by the number of labels that are right, and of those that are wrong."""
    inner = SHARES[1:-1]
    logs = np.full(len(SHARES), -np.inf)
    logs[1:-1] = right * np.log(inner) + wrong * np.log(1 - inner)
    return _estimate(logs, round(right + wrong))


def _estimate(logs: Floats, n: int) -> Estimate:
    """The mean and the interval of a share whose log likelihood at SHARES is `logs`, under a uniform prior."""
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    cumulated = weights.cumsum()
    low, high = (float(SHARES[min(int(np.searchsorted(cumulated, at)), len(SHARES) - 1)]) for at in INTERVAL)
    return Estimate(float(weights @ SHARES), low, high, n)


def _ratio(log: float) -> float:
    """e to the power of `log`, at most a billion."""
    return math.exp(min(log, math.log(1e9)))
