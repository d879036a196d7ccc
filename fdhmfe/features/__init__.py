"""From images to stage maps: backbones, the embedded one, the cache."""
