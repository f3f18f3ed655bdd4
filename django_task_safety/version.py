"""The package's version; setup.cfg has it as well."""

__version__ = "0.1.0"
