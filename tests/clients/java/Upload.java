// Uploads one file with tus-java-client and prints what happens as JSON lines.
// Usage: java Upload ENDPOINT FILE [storage=FILE] [chunk=BYTES] [request=BYTES] [delay=MS]
// The certificate in the file that SSL_CERT_FILE names is believed.

import io.tus.java.client.ProtocolException;
import io.tus.java.client.TusClient;
import io.tus.java.client.TusExecutor;
import io.tus.java.client.TusURLMemoryStore;
import io.tus.java.client.TusURLStore;
import io.tus.java.client.TusUpload;
import io.tus.java.client.TusUploader;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import javax.net.ssl.HttpsURLConnection;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public final class Upload {
    private static final int ATTEMPTS = 300;

    /** URLs in a file, so that another process finds them. */
    private static final class FileStore implements TusURLStore {
        private final Path path;

        FileStore(Path path) {
            this.path = path;
        }

        @Override
        public void set(String fingerprint, URL url) {
            Properties all = read();
            all.setProperty(fingerprint, url.toString());
            write(all);
        }

        @Override
        public URL get(String fingerprint) {
            String url = read().getProperty(fingerprint);
            try {
                return url == null ? null : new URL(url);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public void remove(String fingerprint) {
            Properties all = read();
            all.remove(fingerprint);
            write(all);
        }

        private Properties read() {
            Properties all = new Properties();
            if (Files.exists(path)) {
                try (InputStream file = Files.newInputStream(path)) {
                    all.load(file);
                } catch (IOException error) {
                    throw new IllegalStateException(error);
                }
            }
            return all;
        }

        private void write(Properties all) {
            try (OutputStream file = Files.newOutputStream(path)) {
                all.store(file, null);
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }
    }

    public static void main(String[] words) throws Exception {
        Map<String, String> options = new HashMap<>();
        for (String word : Arrays.asList(words).subList(2, words.length)) {
            String[] pair = word.split("=", 2);
            options.put(pair[0], pair[1]);
        }
        believeCertificate(System.getenv("SSL_CERT_FILE"));

        TusClient client = new TusClient();
        client.setUploadCreationURL(new URL(words[0]));
        String storage = options.get("storage");
        client.enableResuming(
                storage == null ? new TusURLMemoryStore() : new FileStore(Path.of(storage)));
        TusUpload upload = new TusUpload(new File(words[1]));

        TusExecutor executor = new TusExecutor() {
            @Override
            protected void makeAttempt() throws ProtocolException, IOException {
                try {
                    send(client.resumeOrCreateUpload(upload), options);
                } catch (ProtocolException error) {
                    say("retry", "\"message\": " + quote(error) + ", \"status\": " + status(error));
                    throw error;
                } catch (IOException error) {
                    say("retry", "\"message\": " + quote(error));
                    throw error;
                }
            }
        };
        int[] delays = new int[ATTEMPTS];
        Arrays.fill(delays, Integer.parseInt(options.getOrDefault("delay", "10")));
        executor.setDelays(delays);
        try {
            executor.makeAttempts();
        } catch (ProtocolException | IOException error) {
            String status = error instanceof ProtocolException
                    ? String.valueOf(status((ProtocolException) error)) : "null";
            say("error", "\"message\": " + quote(error) + ", \"status\": " + status);
            System.exit(1);
        }
    }

    private static void send(TusUploader uploader, Map<String, String> options)
            throws ProtocolException, IOException {
        String url = quote(uploader.getUploadURL());
        say("url", "\"url\": " + url + ", \"offset\": " + uploader.getOffset());
        if (options.containsKey("chunk")) {
            uploader.setChunkSize(Integer.parseInt(options.get("chunk")));
        }
        if (options.containsKey("request")) {
            uploader.setRequestPayloadSize(Integer.parseInt(options.get("request")));
        }
        while (uploader.uploadChunk() > -1) {
            say("progress", "\"bytes\": " + uploader.getOffset());
        }
        // The input stays open: this upload may have to be tried again.
        uploader.finish(false);
        say("success", "\"url\": " + url);
    }

    private static void believeCertificate(String path) throws Exception {
        if (path == null) {
            return;
        }
        KeyStore believed = KeyStore.getInstance(KeyStore.getDefaultType());
        believed.load(null, null);
        try (InputStream file = Files.newInputStream(Path.of(path))) {
            CertificateFactory factory = CertificateFactory.getInstance("X.509");
            believed.setCertificateEntry("one", factory.generateCertificate(file));
        }
        TrustManagerFactory managers =
                TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(believed);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        HttpsURLConnection.setDefaultSSLSocketFactory(context.getSocketFactory());
    }

    private static int status(ProtocolException error) throws IOException {
        HttpURLConnection connection = error.getCausingConnection();
        return connection == null ? 0 : connection.getResponseCode();
    }

    private static String quote(Object thing) {
        String text = String.valueOf(thing);
        return '"' + text.replaceAll("[\\\\\"\\p{Cntrl}]", " ") + '"';
    }

    private static void say(String event, String data) {
        System.out.println("{\"event\": \"" + event + "\", " + data + "}");
        System.out.flush();
    }
}
