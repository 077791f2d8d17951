import os
from typing import Annotated, Optional

import uvicorn
from fastapi import Depends, FastAPI, HTTPException
from portcullis import Caller, Portcullis

caller_of = Portcullis(os.environ["ISSUER"], os.environ["AUDIENCE"], os.environ["JWKS_URI"])
app = FastAPI()


@app.get("/me")
def me(caller: Annotated[Optional[Caller], Depends(caller_of)]) -> Caller:
    if caller is None:
        raise HTTPException(401, "Log in first.")
    return caller


uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
