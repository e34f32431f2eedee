"""Label Studio's tasks, annotations and labelling configs as records. Pure."""
