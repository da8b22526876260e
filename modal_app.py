"""The same program on Modal: images, volumes, the GPU class and its hooks. Not written yet."""
