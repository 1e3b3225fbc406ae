"""Networks that timm does not have, written from their papers. Each module has create(name) and data_config(name), in timm's terms."""
