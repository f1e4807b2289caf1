"""TensorFlow Serving's REST API: tensors as nested lists.

Imported by `server.api`. https://www.tensorflow.org/tfx/serving/api_rest
"""
