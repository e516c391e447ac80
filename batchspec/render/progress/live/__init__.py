"""The live screen: ``board`` folds events, ``bars`` and ``frame`` draw, ``view`` keeps it up."""
