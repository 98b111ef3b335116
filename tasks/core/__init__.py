"""All other packages rest on this one: errors, configuration, settings, storage, small files, the loader."""
