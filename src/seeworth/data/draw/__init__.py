"""Product photos drawn from known traits, with Pillow and numpy alone.

    catalogue   what exists: kinds, traits, titles and the price as a known function of the traits
    geometry    outlines: smooth curves, limbs, ellipses, and Part
    clothing, accessories, leather_goods, shoes      traits -> parts, one function a kind
    texture     materials and patterns over a surface
    surface     a part -> shaded pixels
    backdrop    what lies behind the product
    scene       traits + random numbers -> one JPEG

Knows nothing of dataset folders; `seeworth.data.sample` writes those.
"""
