"""Makes the PyTorch files beside this script (PyTorch 2.x from PyPI). The tests state the values.

python make.py
"""
import torch

grid = torch.arange(12, dtype=torch.float32).reshape(3, 4)
tensors = {
    "rows": grid,
    "columns": grid.t(),
    "window": grid[1:, 1:3],
    "repeated": grid[0].expand(2, 4),
    "scalar": torch.tensor(2.5, dtype=torch.float64),
    "empty": torch.zeros(0, 3),
    "halves": torch.tensor([1.5, -2.25], dtype=torch.float16),
    "brains": torch.tensor([1.5, -2.25], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False, True]),
    "bytes": torch.tensor([-3, 7], dtype=torch.int8),
    "longs": torch.tensor([-(2**40), 2**40], dtype=torch.int64),
    "shorts": torch.tensor([1, 65535], dtype=torch.uint16),
    "parameter": torch.nn.Parameter(grid + 1),
}
wrapped = {"epoch": 3, "lr": 1e-3, "state_dict": tensors, "optimizer": {"state": {0: {"step": torch.tensor(4.0)}}}}
torch.save(tensors, "plain.pth")
torch.save(wrapped, "wrapped_protocol4.pth", pickle_protocol=4)
del tensors["shorts"]
torch.save(wrapped, "wrapped_legacy.pth", _use_new_zipfile_serialization=False)
module = torch.nn.Linear(3, 2)
with torch.no_grad():
    module.weight.copy_(torch.arange(6.0).reshape(2, 3))
    module.bias.fill_(0.5)
torch.save(module.state_dict(), "module.bin")
torch.save(module, "whole_module.pth")
