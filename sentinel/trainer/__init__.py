"""The bundled trainer: a small mixture-of-experts language model under FSDP2."""
