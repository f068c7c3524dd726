"""How the drawn products look: textures, lettering, surfaces, light and camera."""
