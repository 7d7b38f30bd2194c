"""A network whose linear layers keep a quarter of their weights, and choose which while they train.

python examples/sparse_training.py                 # prints the loss, and what changed
"""

import torch

from diffrender.blocksparse import GradientWatch, SparsityConfig, drop_and_grow, sparsify_

torch.manual_seed(0)
x = torch.randn(256, 32)
target = torch.sin(x @ torch.randn(32, 4) / 4)
model = torch.nn.Sequential(torch.nn.Linear(32, 64), torch.nn.GELU(), torch.nn.Linear(64, 4))
done = sparsify_(model, SparsityConfig(0.25, block_size=4, mode="dynamic"))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
for step in range(200):
    with GradientWatch(model) as watch:
        loss = (model(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
    optimizer.step()
    changed = 0
    if step % 20 == 19 and step < 150:
        for layer, gradient in watch.gradients.items():
            changed += drop_and_grow(layer, gradient, 0.2, optimizer)
    if step % 20 == 19:
        print(f"step {step + 1}: loss {float(loss.detach()):.4f}, {changed} blocks changed")
print(f"{len(done.converted)} sparse layers at density {model[0].density}")
