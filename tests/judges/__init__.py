"""What tools of others say of the package; docs/explanation/proof.rst tells it. ``tox -e judges`` installs them."""
