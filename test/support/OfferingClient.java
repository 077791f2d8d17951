import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;

/** The client of the JDK with its defaults: each request over plain http offers h2c. Prints `status version body` for each request. */
public class OfferingClient {
  private static final HttpClient CLIENT = HttpClient.newHttpClient();

  public static void main(String[] args) throws Exception {
    String url = args[0];
    String login = args[1];
    send("GET", url + "/open/get", BodyPublishers.noBody(), null);
    send("POST", url + "/open/length", BodyPublishers.ofString("hello"), null);
    send("PUT", url + "/open/chunks", BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(new byte[100_000])), null);
    send("DELETE", url + "/open/delete", BodyPublishers.noBody(), null);
    send("GET", url + "/api/get", BodyPublishers.noBody(), null);
    send("POST", url + "/auth/login", BodyPublishers.ofString(login), "application/json");
    send("GET", url + "/health", BodyPublishers.noBody(), null);
  }

  private static void send(String method, String url, BodyPublisher body, String contentType) throws Exception {
    HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url)).method(method, body);
    if (contentType != null) request.header("Content-Type", contentType);
    HttpResponse<String> response = CLIENT.send(request.build(), BodyHandlers.ofString());
    System.out.println(response.statusCode() + " " + response.version() + " " + response.body());
  }
}
