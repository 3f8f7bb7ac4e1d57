"""Power meters that hang on the host: by SCPI, or by a command that prints watts."""
