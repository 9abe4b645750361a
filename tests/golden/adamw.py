"""Prints what torch.optim.AdamW does to two small parameters; `maskwise-train/src/optimizer.rs` holds the output.

Gradients come from a formula, `b` has none in the second step, and the rate changes from step to step.
"""

import torch

a = torch.nn.Parameter(torch.tensor([[0.5, -1.25], [2.0, 1e-3]]))
b = torch.nn.Parameter(torch.tensor([0.75, -0.5, 4.0]))
optimizer = torch.optim.AdamW([a, b], lr=1.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.01, foreach=False)
for step, rate in enumerate([3e-4, 0.0, 1e-2, 2e-3]):
    a.grad = torch.tensor([[0.1, -2.0], [0.0, 1e-7]]) * (step + 1)
    b.grad = None if step == 1 else torch.tensor([1.0, -0.25, 1e-4]) / (step + 1)
    optimizer.param_groups[0]["lr"] = rate
    optimizer.step()
    print(torch.__version__, step + 1, a.detach().flatten().tolist(), b.detach().tolist())
print([int(optimizer.state[p]["step"]) for p in (a, b)])
