package body

// Sandbox is the sandbox attribute of the iframe that shows a body: its links open new tabs, and nothing else works.
const Sandbox = "allow-popups allow-popups-to-escape-sandbox"

// ContentPolicy returns the Content-Security-Policy of a document with the HTML of a message. With images it may load images from anywhere.
func ContentPolicy(images bool) string {
	sources := "data:"
	if images {
		sources = "data: http: https:"
	}
	return "sandbox " + Sandbox + "; default-src 'none'; img-src " + sources +
		"; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
}

// DownloadPolicy is the Content-Security-Policy of everything that is downloaded, should a browser show it all the same.
const DownloadPolicy = "sandbox; default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
