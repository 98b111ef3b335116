"""What everything else rests on: errors, configuration, settings, storage, small files, the loader."""
