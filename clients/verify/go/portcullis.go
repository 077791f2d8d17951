package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// Caller is the caller of a request that came through the gateway.
type Caller struct {
	ID      string   `json:"id"`
	Roles   []string `json:"roles"`
	Scopes  []string `json:"scopes"`
	Session *string  `json:"session"`
	Email   *string  `json:"email"`
}

type claims struct {
	jwt.RegisteredClaims
	Roles     []string `json:"roles"`
	Scope     string   `json:"scope"`
	SessionID *string  `json:"sid"`
}

type callerKey struct{}

// CallerOf returns nil when the gateway let an anonymous request pass.
func CallerOf(request *http.Request) *Caller {
	caller, _ := request.Context().Value(callerKey{}).(*Caller)
	return caller
}

// Portcullis verifies X-Auth-Assertion. audience is this service, as the gateway's route names it.
func Portcullis(issuer, audience, jwksURI string, next http.Handler) (http.Handler, error) {
	keys, err := keyfunc.NewDefault([]string{jwksURI})
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "EdDSA", "RS256"}),
		jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(),
	)
	return http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		assertion := request.Header.Get("X-Auth-Assertion")
		if assertion == "" {
			next.ServeHTTP(response, request)
			return
		}
		var given claims
		token, err := parser.ParseWithClaims(assertion, &given, keys.Keyfunc)
		if err != nil || token.Header["typ"] != "assertion+jwt" {
			http.Error(response, "The assertion is not valid.", http.StatusUnauthorized)
			return
		}
		caller := &Caller{ID: given.Subject, Roles: given.Roles, Scopes: strings.Fields(given.Scope), Session: given.SessionID}
		// the assertion proves that the gateway sent the request, so its headers are the gateway's, percent-encoded
		if email, err := url.PathUnescape(request.Header.Get("X-Auth-Email")); err == nil && email != "" {
			caller.Email = &email
		}
		next.ServeHTTP(response, request.WithContext(context.WithValue(request.Context(), callerKey{}, caller)))
	}), nil
}
