"""The callable names of packages that isthmus succeeds, over its own models. Import the submodule you need."""
