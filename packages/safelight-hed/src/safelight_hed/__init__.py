"""The weights of HED in OpenVINO's format: hed.xml and hed.bin."""
