// Package problems is a plugin of the proxy, which interprets this file.
//
// The errors that the proxy itself answers with become problem documents (RFC 9457), as those of the gateways are:
// clients keep their tokens at these texts. Errors of the gateways, which have a request id, pass as they are.
package problems

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Config has a status if the middleware itself answers, and sends no request on.
type Config struct {
	Status int `json:"status,omitempty"`
}

// CreateConfig returns the configuration of a middleware that sends all requests on.
func CreateConfig() *Config {
	return &Config{}
}

// Problems is the middleware.
type Problems struct {
	next   http.Handler
	status int
}

// New returns the middleware in front of the next handler.
func New(_ context.Context, next http.Handler, config *Config, _ string) (http.Handler, error) {
	return &Problems{next: next, status: config.Status}, nil
}

func (p *Problems) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	if p.status != 0 {
		write(response, request, p.status)
		return
	}
	p.next.ServeHTTP(&replacing{response: response, request: request}, request)
}

// replacing is a response that becomes a problem document if it is an error of the proxy.
type replacing struct {
	response http.ResponseWriter
	request  *http.Request
	replaced bool
}

func (r *replacing) Header() http.Header {
	return r.response.Header()
}

func (r *replacing) WriteHeader(status int) {
	ofGateway := r.response.Header().Get("X-Request-Id") != ""
	if ofGateway || kindOf(status) == nil {
		r.response.WriteHeader(status)
		return
	}
	r.replaced = true
	write(r.response, r.request, status)
}

func (r *replacing) Write(content []byte) (int, error) {
	if r.replaced {
		return len(content), nil
	}
	return r.response.Write(content)
}

// kind is what the gateways' list of codes says, in gateway/problems.py.
type kind struct {
	code, title, err, detail string
	passes                   bool
}

func kindOf(status int) *kind {
	switch {
	case status == http.StatusNotFound:
		return &kind{"not_found", "There is nothing here", "NOT_FOUND", "Not Found.", false}
	case status == http.StatusTooManyRequests:
		return &kind{"too_many_requests", "Too many requests", "RATE_LIMITED",
			"Request failed: too many requests. Try again shortly.", true}
	case status >= http.StatusInternalServerError:
		return &kind{"service_unavailable", "The service is not available right now", "SERVICE_UNAVAILABLE",
			"Request failed: the service is not available right now. Try again shortly.", true}
	}
	return nil
}

func write(response http.ResponseWriter, request *http.Request, status int) {
	found := kindOf(status)
	id := make([]byte, 16)
	_, _ = rand.Read(id)
	requestID := hex.EncodeToString(id)
	document := map[string]interface{}{
		"type":       "urn:mana:problem:" + found.code,
		"title":      found.title,
		"status":     status,
		"code":       found.code,
		"error":      found.err,
		"detail":     found.detail,
		"instance":   "urn:request:" + requestID,
		"statusCode": status,
		"message":    found.detail,
		"timestamp":  time.Now().UTC().Format("2006-01-02T15:04:05.000Z"),
		"path":       request.URL.Path,
	}
	headers := response.Header()
	if found.passes {
		// The proxy's limit of a rate says when, its other limit and its errors do not.
		seconds, err := strconv.Atoi(headers.Get("Retry-After"))
		if err != nil || seconds < 1 {
			seconds = 1
		}
		headers.Set("Retry-After", strconv.Itoa(seconds))
		document["retryAfterSec"] = seconds
	}
	content, _ := json.Marshal(document)
	headers.Set("Content-Type", "application/problem+json")
	headers.Set("Content-Length", strconv.Itoa(len(content)))
	headers.Set("Cache-Control", "no-store")
	headers.Set("X-Content-Type-Options", "nosniff")
	headers.Set("X-Request-Id", requestID)
	// It tells nothing of anybody, so that any page may read it.
	headers.Set("Access-Control-Allow-Origin", "*")
	headers.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
	response.WriteHeader(status)
	_, _ = response.Write(content)
}
