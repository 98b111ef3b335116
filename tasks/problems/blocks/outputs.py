"""This module computes outputs of a torch model for rows that come batch by batch."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from tasks.problems.base import Batches, Floats
from tasks.problems.blocks.inputs import inputs_of


def outputs(
    model: nn.Module,
    batches: Batches,
    call: Callable[..., Tensor] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Floats:
    """Return outputs in evaluation mode, computed where the model's weights are, by its part `call` if that is given.

    `progress(rows)` is called after each batch with the number of rows computed so far.
    """
    model.eval()
    where = next((weights.device for weights in model.parameters()), torch.device("cpu"))
    result: Floats | None = None
    start = 0
    with torch.no_grad():
        for inputs in batches:
            tensors = (torch.from_numpy(inputs[name]).to(where) for name in inputs_of(model, inputs))
            part: Floats = (call or model)(*tensors).cpu().numpy()
            if result is None:  # its width is the model's own business
                result = np.empty((len(batches), *part.shape[1:]), part.dtype)
            result[start : start + len(part)] = part
            start += len(part)
            if progress is not None:
                progress(start)
    if result is None:
        raise ValueError("there are no rows to compute")
    return result
