from tasks.sources import pin_sources

pin_sources()
