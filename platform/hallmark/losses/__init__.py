"""One formula a file, each with its paper equation."""
