"""Ways to provision an image, one file each, named as inspection names them."""
