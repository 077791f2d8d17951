import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import JsonResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["portcullis.PortcullisMiddleware"],
    PORTCULLIS={"issuer": os.environ["ISSUER"], "audience": os.environ["AUDIENCE"], "jwks_uri": os.environ["JWKS_URI"]},
)


def me(request):
    if request.caller is None:
        return JsonResponse({"error": "Log in first."}, status=401)
    return JsonResponse(request.caller.as_dict())


urlpatterns = [path("me", me)]

if __name__ == "__main__":
    execute_from_command_line([sys.argv[0], "runserver", "--noreload", f"127.0.0.1:{os.environ['PORT']}"])
