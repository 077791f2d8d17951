// Verifies tokens with Go libraries. Standard input: one JSON object; standard output: a line for each library and token.
package main

import (
	"context"
	"encoding/json"
	"os"
	"strings"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxt "github.com/lestrrat-go/jwx/v3/jwt"
)

type token struct {
	Token    string `json:"token"`
	Alg      string `json:"alg"`
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	JwksURI  string `json:"jwks_uri"`
}

func golangJwt(t token) error {
	keys, err := keyfunc.NewDefault([]string{t.JwksURI})
	if err != nil {
		return err
	}
	_, err = jwt.Parse(t.Token, keys.Keyfunc, jwt.WithValidMethods([]string{t.Alg}), jwt.WithIssuer(t.Issuer), jwt.WithAudience(t.Audience))
	return err
}

func jwx(t token) error {
	keys, err := jwk.Fetch(context.Background(), t.JwksURI)
	if err != nil {
		return err
	}
	_, err = jwxt.Parse([]byte(t.Token), jwxt.WithKeySet(keys), jwxt.WithIssuer(t.Issuer), jwxt.WithAudience(t.Audience))
	return err
}

func main() {
	var expected struct {
		token
		Tokens map[string]token `json:"tokens"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&expected); err != nil {
		panic(err)
	}
	out := json.NewEncoder(os.Stdout)
	for library, verify := range map[string]func(token) error{"golang-jwt": golangJwt, "jwx": jwx} {
		for name, t := range expected.Tokens {
			t.Issuer, t.JwksURI = expected.Issuer, expected.JwksURI
			if t.Audience == "" {
				t.Audience = expected.Audience
			}
			answer := map[string]any{"library": library, "name": name, "accepted": true}
			if err := verify(t); err != nil {
				answer["accepted"], answer["error"] = false, strings.ReplaceAll(err.Error(), "\n", " ")
			}
			if err := out.Encode(answer); err != nil {
				panic(err)
			}
		}
	}
}
