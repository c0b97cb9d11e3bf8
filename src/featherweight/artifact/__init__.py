"""The compact file: a safetensors file with sparse tensors gap-coded and compressed. Never imports torch."""
