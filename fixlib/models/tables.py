"""Baselines that know where gaze goes from where it is, and from where it was: densities over the pixels."""

import torch
from torch import Tensor

from fixlib.grid import decode_median, pixel_center, pixel_index
from fixlib.models.baselines import FOLDS, Baseline, CenterBias, spreading_kernel
from fixlib.models.registry import BASELINES

# What the transition table tries, at each horizon, on the windows it holds out.
SOURCE_BANDWIDTHS = (1.0, 2.0, 4.0, 8.0)
TARGET_BANDWIDTHS = (1.0, 2.0, 4.0)
BACK_OFFS = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)

# What the tables below mix: chosen on validation windows of OSIE, where little depends on them.
SMOOTHING = (2.0, 2.0)  # bandwidths of source and target
DISPLACEMENT_BANDWIDTHS = (0.5, 2.0)
RETURN_BANDWIDTHS = (0.2, 1.0)
SHRINKAGE = 10.0
EM_STEPS = 50

Part = tuple[int, Tensor]  # a table (H*W, H*W) of p(j | i), and how many fixations ago gaze was in i


@BASELINES.register("transition_table")
class TransitionTable(Baseline):
    """Saccadic flow: where gaze goes from where it is, first order (after Clarke et al. 2017, Vision Res.).

    For each horizon h, with i the pixel of the last observed point and j that of h points later,

        p_h(j | i) = stay_h [j = i] + (1 - stay_h) q_h(j | i),
        q_h(j | i) ~ sum over moves (i', j') of K_source(i - i') K_target(j - j') + k * center(j)

    and 0 at j = i. stay_h is the share of pairs in the same pixel (one success and one failure added);
    K_source weighs moves that start nearby (1 for the same pixel), K_target spreads where they end (sums to
    1); `center` is CenterBias, weighing as much as k moves. Both bandwidths and k are those under which the
    last fifth of the training windows is most likely given the others; the table then uses all. Horizon h
    learns from every pair of points h apart in the windows. Needs at least 2 windows; predicts as far as they
    go (T - n_in points).
    """

    def _fit(self, windows: Tensor, n_in: int) -> None:
        self.center = CenterBias(self.size).fit(windows, n_in).probabilities.flatten().float()
        pixels = pixel_index(windows, self.size)
        horizons = range(1, windows.shape[1] - n_in + 1)
        self.settings = [self._choose_settings(pixels, horizon) for horizon in horizons]
        tables = [self._table(pixels, *chosen) for chosen in zip(horizons, self.settings)]
        self.log_tables = torch.stack(tables, dim=1).log()

    def log_density(self, inputs: Tensor, n_out: int) -> Tensor:
        """As `CenterBias.log_density`."""
        inputs, log_tables = self._check_request(inputs, n_out), self._fitted("log_tables")
        self._check_horizon(n_out, log_tables.shape[1])
        source = pixel_index(inputs[:, -1], self.size).to(log_tables.device)
        return log_tables[source, :n_out].to(inputs.device).unflatten(-1, (self.size, self.size))

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        # A map depends on the last pixel only, so each is decoded once.
        pixels, which = pixel_index(inputs[:, -1], self.size).unique(return_inverse=True)
        return decode_median(self.log_density(pixel_center(pixels, self.size)[:, None], n_out).exp())[which]

    def _choose_settings(self, pixels: Tensor, horizon: int) -> tuple[float, float, float]:
        """Source bandwidth, target bandwidth and back-off under which held-out moves are most likely."""
        held_out = max(1, len(pixels) // FOLDS)
        source, target = _pairs(pixels[-held_out:], horizon)
        source, target = source[source != target], target[source != target]
        counts, _ = _count_moves(pixels[:-held_out], horizon, self.size)
        scores = {}
        for source_bandwidth in SOURCE_BANDWIDTHS:
            near = _gather_sources(counts, source_bandwidth, self.size)
            for target_bandwidth in TARGET_BANDWIDTHS:
                moves = _spread_targets(near, target_bandwidth, self.size)
                for back_off in BACK_OFFS:
                    # As looking the moves up in the `_table`, without making it.
                    total = moves.sum(dim=1) - moves.diagonal() + back_off * (1 - self.center)
                    likelihood = (moves[source, target] + back_off * self.center[target]) / total[source]
                    scores[source_bandwidth, target_bandwidth, back_off] = likelihood.double().log().sum().item()
        return max(scores, key=scores.__getitem__)

    def _table(self, pixels: Tensor, horizon: int, settings: tuple[float, float, float]) -> Tensor:
        """p_h(j | i), (H*W, H*W)."""
        source_bandwidth, target_bandwidth, back_off = settings
        counts, stay = _count_moves(pixels, horizon, self.size)
        moves = _spread_targets(_gather_sources(counts, source_bandwidth, self.size), target_bandwidth, self.size)
        weights = (moves + back_off * self.center).fill_diagonal_(0)
        table = (1 - stay) * (weights / weights.sum(dim=1, keepdim=True))
        return table + stay * torch.eye(len(table), device=table.device)


@BASELINES.register("displacement_table")
class DisplacementTable(Baseline):
    """A transition table whose moves also follow the displacements that are typical wherever gaze starts.

    For each horizon, with i the pixel of the last observed point, in which gaze has been for d points,

        p(j | history) = stay(d) [j = i] + (1 - stay(d)) sum over parts of w_part q_part(j | history)

    and every q is 0 at j = i. Here stay(d) is the share of all cases that are in the same pixel (one success and one
    failure added), whatever d. The parts are CenterBias; the moves of a TransitionTable, smoothed by SMOOTHING; and the
    displacements of all moves, wherever they start, spread by each of DISPLACEMENT_BANDWIDTHS. The weights are those
    under which the moves in each fifth of the windows are most likely given the moves in the others (expectation
    maximization). Needs at least 2 windows; predicts as far as they go (T - n_in points).

    Attributes:
        stay: (T - n_in, n_in), by horizon and d.
    """

    fixations_back = 0  # How many earlier fixations are told apart, the last one with all before it; 0: none matters.

    def _fit(self, windows: Tensor, n_in: int) -> None:
        pixels = pixel_index(windows, self.size).cpu()
        self.center = CenterBias(self.size).fit(windows, n_in).probabilities.flatten().float().cpu()
        kernels = [spreading_kernel(self.size, bandwidth).float() for bandwidth in RETURN_BANDWIDTHS]
        back = range(1, self.fixations_back + 1)
        self.returns = [(ago, torch.kron(kernel, kernel)) for ago in back for kernel in kernels]
        horizons = range(1, windows.shape[1] - n_in + 1)
        self.stay = torch.stack([self._chance_to_stay(*_cases(pixels, n_in, horizon)) for horizon in horizons])
        self.moves = [self._fit_moves(pixels, n_in, horizon) for horizon in horizons]

    def log_density(self, inputs: Tensor, n_out: int) -> Tensor:
        """As `CenterBias.log_density`."""
        inputs = self._check_request(inputs, n_out)
        stay = self._fitted("stay")
        self._check_horizon(n_out, len(stay))
        seen = pixel_index(inputs[:, -stay.shape[1] :], self.size).cpu()  # as far back as it was fitted
        every = torch.arange(self.size**2).expand(len(seen), -1)
        rested, earlier = (_fixations_ago(seen) == 0).sum(dim=1), self._told_apart(seen)[:, 0]
        returns = self._densities(self.returns, seen, every)
        maps = []
        for horizon, (parts, weights) in enumerate(self.moves[:n_out]):
            densities = torch.cat([self._densities(parts, seen, every), returns], dim=1)
            moves = (weights[earlier][:, None] @ densities)[:, 0]  # (N, H*W), 0 at the last pixel
            stays = stay[horizon, rested - 1, None]
            maps.append(((1 - stays) * moves).scatter(1, seen[:, -1:], stays))
        return torch.stack(maps, dim=1).log().unflatten(-1, (self.size, self.size)).to(inputs.device)

    def _predict(self, inputs: Tensor, n_out: int) -> Tensor:
        return torch.cat([decode_median(self.log_density(some, n_out).exp()) for some in inputs.split(256)])

    def _chance_to_stay(self, seen: Tensor, target: Tensor) -> Tensor:
        """The chance to be in the last pixel, by how many of the points seen (cases, n_in) are in it: (n_in,)."""
        return _share_that_stays(seen, target).expand(seen.shape[1])

    def _fit_moves(self, pixels: Tensor, n_in: int, horizon: int) -> tuple[list[Part], Tensor]:
        """The parts of a horizon that depend on where gaze is, and the weights (earlier fixations, all parts)."""
        folds = pixels.tensor_split(min(FOLDS, len(pixels)))
        counts = torch.stack([_count_moves(fold, horizon, self.size)[0] for fold in folds])
        likelihoods, earlier = [], []
        for fold, own in zip(folds, counts):
            seen, target = _cases(fold, n_in, horizon)
            moved = seen[:, -1] != target
            parts = self._tables(counts.sum(dim=0) - own) + self.returns
            likelihoods.append(self._densities(parts, seen[moved], target[moved, None])[..., 0])
            earlier.append(self._told_apart(seen[moved])[:, 0])
        likelihood, group = torch.cat(likelihoods), torch.cat(earlier)
        tables, groups = self._tables(counts.sum(dim=0)), range(self.fixations_back + 1)
        backs = torch.tensor([back for back, _ in tables + self.returns])
        weights = [_mixture_weights(likelihood[group == number], backs <= number) for number in groups]
        return tables, torch.stack(weights)

    def _tables(self, counts: Tensor) -> list[Part]:
        """The parts made of moves counted (H*W, H*W); the centre bias where nobody ever started nearby."""
        source_bandwidth, target_bandwidth = SMOOTHING
        near = _gather_sources(counts, source_bandwidth, self.size)
        tables = [_spread_targets(near, target_bandwidth, self.size), *_displacement_tables(counts, self.size)]
        tables = [table + 1e-6 * self.center for table in tables]
        tables = [table / table.sum(dim=1, keepdim=True) for table in tables]
        return [(0, self.center.expand_as(counts)), *((0, table) for table in tables)]

    def _densities(self, parts: list[Part], seen: Tensor, targets: Tensor) -> Tensor:
        """What each part gives to the pixels `targets` (N, K) after `seen` (N, n_in), if gaze moves: (N, parts, K).

        A part (back, table) is the mean of the table's rows of the points seen `back` fixations ago; 0 without any.
        """
        ago, last = self._told_apart(seen), seen[:, -1:]
        densities = seen.new_zeros(len(seen), len(parts), targets.shape[1], dtype=torch.float32)
        for number, (back, table) in enumerate(parts):
            at = seen if back else last  # all points of the fixation that gaze is in have the same row
            share = (ago == back).float()[:, -at.shape[1] :]
            share = share / share.sum(dim=1, keepdim=True).clamp(min=1)
            density, here = ((share[:, None] @ table[at[..., None], j[:, None]])[:, 0] for j in (targets, last))
            densities[:, number] = (density / (1 - here)).masked_fill(targets == last, 0)
        return densities

    def _told_apart(self, seen: Tensor) -> Tensor:
        """`_fixations_ago`, up to `fixations_back`; that of the first point is how many earlier fixations there are."""
        return _fixations_ago(seen).clamp(max=self.fixations_back)


@BASELINES.register("dwell_table")
class DwellTable(DisplacementTable):
    """The displacement table, in which the chance to stay depends on how long gaze has rested.

    stay(d) is the share of the cases with d points in the last pixel that are still there, to which SHRINKAGE cases of
    the share over all d are added.
    """

    def _chance_to_stay(self, seen: Tensor, target: Tensor) -> Tensor:
        stayed, before = (seen[:, -1] == target).float(), (_fixations_ago(seen) == 0).sum(dim=1) - 1
        counts = torch.bincount(before, minlength=seen.shape[1])
        still = torch.bincount(before, stayed, minlength=seen.shape[1])
        return (still + SHRINKAGE * _share_that_stays(seen, target)) / (counts + SHRINKAGE)


@BASELINES.register("return_table")
class ReturnTable(DwellTable):
    """The dwell-aware table, with a memory of places: gaze goes back to where it was.

    Further parts are kernels of each of RETURN_BANDWIDTHS around the pixel of the fixation before, and around those of
    all that came before that one (the mean over the observed points). The weights depend on how many of them there are.
    """

    fixations_back = 2


def _pairs(pixels: Tensor, horizon: int) -> tuple[Tensor, Tensor]:
    """All pairs of pixels `horizon` points apart in windows (N, T), flat."""
    return pixels[:, :-horizon].flatten(), pixels[:, horizon:].flatten()


def _count_moves(pixels: Tensor, horizon: int, size: int) -> tuple[Tensor, float]:
    """Counts (H*W, H*W) of the pairs that change their pixel, and the probability of not changing it."""
    source, target = _pairs(pixels, horizon)
    counts = torch.bincount(source * size**2 + target, minlength=size**4).float().view(size**2, size**2)
    stayed = counts.diagonal().sum().item()
    counts.fill_diagonal_(0)
    return counts, (stayed + 1) / (len(source) + 2)


def _gather_sources(counts: Tensor, bandwidth: float, size: int) -> Tensor:
    """Row i: the moves from pixels near i, weighted exp(-distance^2 / (2 bandwidth^2)); by y, then x."""
    offsets = torch.arange(size, device=counts.device).float()
    kernel = torch.exp(-((offsets[:, None] - offsets) ** 2) / (2 * bandwidth**2))
    by_row = (kernel @ counts.view(size, -1)).view(size, size, -1)
    return (kernel @ by_row).view_as(counts)


def _spread_targets(counts: Tensor, bandwidth: float, size: int) -> Tensor:
    """Every move spread over the pixels near its end; row sums are kept."""
    kernel = spreading_kernel(size, bandwidth).float().to(counts.device)
    return (kernel.T @ counts.view(-1, size, size) @ kernel).view_as(counts)


def _cases(pixels: Tensor, n_in: int, horizon: int) -> tuple[Tensor, Tensor]:
    """All `n_in` points in a row (cases, n_in), and the point `horizon` after them (cases,), in windows (N, T)."""
    cases = pixels.unfold(1, n_in + horizon, 1).flatten(0, 1)
    return cases[:, :n_in], cases[:, -1]


def _fixations_ago(seen: Tensor) -> Tensor:
    """How many fixations ago each of the points (N, n_in) was seen, as counted in pixels; 0 in the one gaze is in."""
    ends = torch.nn.functional.pad(seen.diff(dim=1) != 0, (0, 1))
    return ends.long().flip(1).cumsum(dim=1).flip(1)


def _share_that_stays(seen: Tensor, target: Tensor) -> Tensor:
    """Of the cases whose target is the pixel of the last point seen (cases, n_in); a scalar."""
    stayed = (seen[:, -1] == target).float()
    return (stayed.sum() + 1) / (len(stayed) + 2)


def _displacement_tables(counts: Tensor, size: int) -> list[Tensor]:
    """Row i: the displacements of all moves, as from pixel i on, spread by each of DISPLACEMENT_BANDWIDTHS."""
    wide, index = 2 * size - 1, torch.arange(size**2, dtype=torch.int32)
    place = index // size * wide + index % size
    displacements = place - place[:, None] + (size - 1) * (wide + 1)  # of every move: its number in wide x wide cells
    total = torch.bincount(displacements.flatten(), counts.flatten(), minlength=wide**2).float().view(wide, wide)
    kernels = [spreading_kernel(wide, bandwidth).float() for bandwidth in DISPLACEMENT_BANDWIDTHS]
    # What can be reached from pixel (0, 0) is the last of all size x size windows of the cells.
    windows = [(kernel.T @ total @ kernel).unfold(0, size, 1).unfold(1, size, 1).flip(0, 1) for kernel in kernels]
    return [each.reshape(size**2, size**2) for each in windows]


def _mixture_weights(likelihood: Tensor, allowed: Tensor) -> Tensor:
    """Weights of the allowed parts under which cases are likeliest, (cases, parts) -> (parts,), by EM.

    One more case, which all of them share evenly, keeps every weight above 0.
    """
    weights = prior = allowed / allowed.sum()
    for _ in range(EM_STEPS):
        shares = likelihood * weights
        shares = shares / shares.sum(dim=1, keepdim=True)
        weights = (shares.sum(dim=0) + prior) / (len(shares) + 1)
    return weights
