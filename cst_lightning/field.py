"""What a user holds after fitting: a function of the coordinates, its derivatives, and what it attends to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cst_lightning import jets, points, runs
from cst_lightning.errors import DataError
from cst_lightning.network import CSTNetwork, Memory
from cst_lightning.points import Normalization
from cst_lightning.usage import one_line

if TYPE_CHECKING:
    from cst_lightning.module import CSTModule

Array = TypeVar("Array", Tensor, NDArray[Any])

# Orders of a derivative that can be asked for.
MOST_ORDERS = 8


class Field:
    """A trained model waiting for observations; like a `scipy.interpolate` class, it makes functions.

    Everything a user passes and gets is in physical units.

    Args:
        network: the trained network.
        normalization: physical to normalised units.
        budget: bytes that the intermediates of one chunk of queries may take, roughly.
        axis_names: d names of the coordinates, in their order; time, x, y, z when omitted.

    Example:
        >>> import numpy as np
        >>> from cst_lightning import CSTModule, Field
        >>> module = CSTModule(dimension=1, channels=2, width=16, depth=1, heads=2)  # untrained: its initialiser
        >>> time = np.array([0.0, 0.3, 0.7, 1.0])
        >>> f = Field.of(module).observe(time, np.stack([time, 2 * time], -1))
        >>> f(np.array([0.5])).round(6)
        array([[0.5, 1. ]])
        >>> f.derivative(np.array([0.5]), (1,)).round(4)
        array([[1., 2.]])
    """

    def __init__(
        self,
        network: CSTNetwork,
        normalization: Normalization,
        budget: int = 2**28,
        axis_names: Sequence[str] | None = None,
    ) -> None:
        self.network, self.normalization, self.budget = network, normalization, budget
        self.axis_names = points.axis_names(network.dimension) if axis_names is None else tuple(axis_names)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> Field:
        """Load a run folder (its best checkpoint) or a checkpoint file, without unpickling anything.

        Raises:
            FileNotFoundError: there is no checkpoint; the message has the path.
            DataError: the file is no checkpoint of a `CSTModule`, or would have to be unpickled.
        """
        from cst_lightning.module import CSTModule  # the module imports Field for `CSTModule.field`

        checkpoint = runs.find_checkpoint(path)
        try:
            module = CSTModule.load_from_checkpoint(checkpoint, map_location=device, weights_only=True)
        except (UnpicklingError, RuntimeError, KeyError, EOFError, TypeError) as error:
            found = type(error).__name__
            if "state_dict" in str(error):  # torch's list of weights that do not fit
                found = f"one of another network, or of another version: {one_line(str(error))}"
            elif isinstance(error, TypeError):  # of an argument that another class has
                found = f"one of another model: {one_line(str(error))}"
            raise DataError(checkpoint, "file", "a checkpoint of a CSTModule", found) from error
        return cls.of(module)

    @classmethod
    def of(cls, module: CSTModule) -> Field:
        """Wrap a module as it is now; later training changes the field with it."""
        return cls(module.network, module.normalization, axis_names=module.axis_names)

    def observe(self, coords: Array, values: Array, dummies: Array | None = None) -> ObservedField:
        """Take observations in and compute the context memory once.

        Args:
            coords: (N, d) or (B, N, d); (N,) if d = 1.
            values: (N, c) or (B, N, c), or (N,) if c = 1; NaN where nothing was observed.
            dummies: (D, d) or (B, D, d), extra tokens of the memory if attention is joint.

        Returns:
            The function through these observations.

        Raises:
            ValueError: shapes do not fit, or no value was observed; the message has expected and found.
        """
        parameter = next(self.network.parameters())
        x = self._batched(coords, self.network.dimension, "coords").to(parameter.device)
        u = self._batched(values, self.network.channels, "values").to(parameter.device)
        seen = points.point_set(x, u)
        if not seen.mask.any(-1).all():
            raise ValueError("values has no observed entry in some sample, expected at least one that is not NaN")
        extra = None if dummies is None else self._batched(dummies, self.network.dimension, "dummies").to(x.device)
        with evaluating(self.network):
            context = self.normalization.points(seen, parameter.dtype)
            extra = None if extra is None else self.normalization.coords(extra, parameter.dtype)
            memory = self.network.encode(context, extra)
        return ObservedField(self, memory)

    def _batched(self, array: Array, size: int, name: str) -> Tensor:
        """Return a tensor (B, points, size) from anything a user may pass."""
        # A reversed numpy view has strides that torch does not take.
        tensor = (array if isinstance(array, Tensor) else torch.as_tensor(np.ascontiguousarray(array))).detach()
        tensor = tensor if tensor.is_floating_point() else tensor.double()
        if size == 1 and tensor.ndim == 1:
            tensor = tensor[:, None]
        if tensor.ndim not in (2, 3) or tensor.shape[-1] != size:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected (point, {size}) or (batch, point, {size})"
            )
        return tensor if tensor.ndim == 3 else tensor[None]


class ObservedField:
    """A continuous function through observations, as made by `Field.observe`.

    Call it with coordinates; numpy in gives numpy out, torch in gives torch out.
    """

    def __init__(self, field: Field, memory: Memory) -> None:
        self.field, self.memory = field, memory

    def __call__(self, query: Array) -> Array:
        """Return values (Q, c) at query (Q, d); (B, Q, c) if the observations or the query are batched."""
        coords = self._coords(query)
        with evaluating(self.field.network):
            out = self.field.network.ask(self._memory(coords), coords, budget=self.field.budget)
        return self._like(query, self.field.normalization.values_back(out))

    def derivative(self, query: Array, multi_index: Sequence[int]) -> Array:
        """Return an exact partial derivative of the output, in physical units.

        Args:
            query: (Q, d).
            multi_index: order along each axis: (1, 0, 0) is d/dt, (0, 1, 1) is d2/dxdy.

        Returns:
            (Q, c), value units over coordinate units to their orders.

        Raises:
            ValueError: not one non-negative order for each axis, or too many: what rounding leaves of a high one is
                noise, and the number of directions that it takes grows.
        """
        dimension = self.field.network.dimension
        if len(multi_index) != dimension or not all(isinstance(q, Integral) and q >= 0 for q in multi_index):
            raise ValueError(
                f"multi_index is {tuple(multi_index)}, expected {dimension} orders, integers of at least 0"
            )
        order = sum(multi_index)
        if order > MOST_ORDERS:
            raise ValueError(f"multi_index is {tuple(multi_index)}, expected at most {MOST_ORDERS} orders in all")
        if order == 0:
            return self(query)
        coords = self._coords(query)
        lattice = jets.directions(order, dimension)
        weights = jets.mixing(order, lattice)[lattice.index(tuple(multi_index))].tolist()
        out = torch.zeros((), device=coords.device)
        with evaluating(self.field.network):
            memory = self._memory(coords)
            for weight, line in zip(weights, lattice, strict=True):
                if abs(weight) > 1e-12:  # a pure derivative needs one direction only
                    direction = coords.new_tensor(line).expand_as(coords)
                    jet = self.field.network.ask(memory, coords, order, direction, self.field.budget)
                    out = out + weight * jet[order]
        norm = self.field.normalization
        scale = math.prod(s**q for s, q in zip(norm.scale, multi_index, strict=True))
        return self._like(query, out * out.new_tensor(norm.spread) / scale)

    def attention(self, query: Array, layer: int | None = None, head: int | None = None) -> Array:
        """Return the attention weights on the observations at any coordinate.

        Args:
            query: (Q, d).
            layer: which layer; the mean over layers when omitted.
            head: which head; the mean over heads when omitted.

        Returns:
            (Q, N), rows summing to 1 over the observations (and dummies, if attention is joint).
        """
        coords = self._coords(query)
        heads = self.field.network.blocks[0].heads
        # with latents the memory is shorter than the observations, for each of which there is a weight
        columns = max(self.memory.mask.shape[-1], self.memory.context.coords.shape[1])
        chunk = max(1, self.field.budget // (8 * heads * len(self.field.network.blocks) * columns))
        parts = []
        with evaluating(self.field.network):
            memory = self._memory(coords)
            for part in coords.split(chunk, 1):
                weights = self.field.network.attention(memory, part)  # (L, B, H, Q, N)
                weights = weights.mean(0) if layer is None else weights[layer]
                parts.append(weights.mean(1) if head is None else weights[:, head])
        return self._like(query, torch.cat(parts, 1))

    def initial(self, query: Array) -> Array:
        """Return the initialiser's values (Q, c): what the network starts from."""
        coords = self._coords(query)
        with evaluating(self.field.network):
            out = self.field.network.initial(self._memory(coords), coords, self.field.budget)
        return self._like(query, self.field.normalization.values_back(out))

    def _coords(self, query: Array) -> Tensor:
        coords = self.field._batched(query, self.field.network.dimension, "query")
        if not coords.isfinite().all():
            raise ValueError("query has NaN or infinite entries, expected finite coordinates")
        batch = len(self.memory.mask)
        if len(coords) not in (1, batch) and batch != 1:
            raise ValueError(f"query has {len(coords)} samples, expected 1 or {batch} as in the observations")
        keys = self.memory.keys[0]
        coords = self.field.normalization.coords(coords.to(keys.device), keys.dtype)
        return coords.expand(max(batch, len(coords)), -1, -1)

    def _memory(self, coords: Tensor) -> Memory:
        """Return the memory, repeated if one sample's observations answer a batch of queries."""
        if len(coords) == len(self.memory.mask):
            return self.memory
        take = torch.zeros(len(coords), dtype=torch.long, device=coords.device)
        return cast(Memory, points.each_tensor(self.memory, lambda x: x.index_select(0, take) if x.ndim else x))

    def _like(self, query: Array, out: Tensor) -> Array:
        single = np.ndim(cast(Any, query)) < 3 and len(self.memory.mask) == 1
        out = out[0] if single else out
        if isinstance(query, Tensor):
            return out.to(query.device, query.dtype if query.is_floating_point() else out.dtype)
        array = out.cpu().numpy()
        floating = np.issubdtype(np.asarray(query).dtype, np.floating)
        return cast(Any, array.astype(np.asarray(query).dtype if floating else np.float64))


@contextmanager
def evaluating(network: torch.nn.Module) -> Iterator[None]:
    """Switch dropout and noise off and record no gradients; afterwards the network is as it was."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
