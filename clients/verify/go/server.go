package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
)

func me(response http.ResponseWriter, request *http.Request) {
	caller := CallerOf(request)
	if caller == nil {
		http.Error(response, "Log in first.", http.StatusUnauthorized)
		return
	}
	response.Header().Set("Content-Type", "application/json")
	json.NewEncoder(response).Encode(caller)
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /me", me)
	handler, err := Portcullis(os.Getenv("ISSUER"), os.Getenv("AUDIENCE"), os.Getenv("JWKS_URI"), mux)
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), handler))
}
