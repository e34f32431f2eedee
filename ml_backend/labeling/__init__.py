"""Label Studio's labelling configs and events, and the training labels that they give."""
