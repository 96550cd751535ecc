"""Networks that steer the denoiser by a picture: ControlNets and what is like them."""
