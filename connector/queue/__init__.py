"""What Label Studio is made to serve, and how it is set up and given back."""
