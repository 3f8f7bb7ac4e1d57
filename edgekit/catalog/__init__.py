"""TOML to core values, the device inventory, the settings, the content-addressed cache."""
