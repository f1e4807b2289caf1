"""What an error of OpenVINO says."""


def summary(error: Exception) -> str:
    """The line that says what is wrong; those before it are positions in OpenVINO's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (telling or lines or [type(error).__name__])[-1]
