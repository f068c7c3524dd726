"""Network, losses and what the training batches need, one method a file."""
