"""Diffusion denoiser: forward process, U-Net, samplers, and fine-tuning for denoising."""
