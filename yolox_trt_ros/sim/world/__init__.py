"""A procedural street scene with ground truth, rendered without a GPU.

``World(seed).render(t_s, camera)`` gives a picture and its ground truth. The layers below it:
``mesh`` (polygons); ``bodies``, ``vehicles``, ``riders`` and ``scenery`` (what there is);
``scene`` and ``conditions`` (where it is, in which light);
``stage`` and ``street`` (Panda3D's software renderer); ``optics`` (air, lens, sensor);
``truth`` (labels from the picture of object numbers).
"""
