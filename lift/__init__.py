"""From a picture to a scene: masks, depth, a guessed camera and ground become bodies that stand before a plate."""
