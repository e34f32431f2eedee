"""What a project keeps on disk: its dataset, atomic files and locks."""
